package names

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/peftconv/peftconv/internal/infile"
)

// lmStudioFolders are the folders that are searched for LM Studio's models: the one that its settings name, or else the
// usual ones of new and old versions.
func lmStudioFolders() ([]string, error) {
	own, err := home()
	if err != nil {
		return nil, err
	}
	homes := []string{filepath.Join(own, ".lmstudio"), filepath.Join(own, ".cache", "lm-studio")}
	if text, err := infile.Read(filepath.Join(own, ".lmstudio-home-pointer"), infile.Pointer); err == nil {
		if dir := strings.TrimSpace(string(text)); dir != "" {
			homes = slices.Insert(homes, 0, dir)
		}
	}
	settings := slices.Clone(homes)
	switch runtime.GOOS {
	case "windows":
		settings = append(settings, filepath.Join(os.Getenv("APPDATA"), "LM Studio"))
	case "darwin":
		settings = append(settings, filepath.Join(own, "Library", "Application Support", "LM Studio"))
	default:
		settings = append(settings, filepath.Join(own, ".config", "LM Studio"))
	}
	for _, dir := range settings {
		if folder := downloadsFolder(filepath.Join(dir, "settings.json")); folder != "" {
			folder, err := expand(folder)
			return []string{folder}, err
		}
	}
	for i, dir := range homes {
		homes[i] = filepath.Join(dir, "models")
	}
	return slices.Compact(homes), nil
}

// downloadsFolder is the folder of models in LM Studio's settings, "" where they have none.
func downloadsFolder(settings string) string {
	text, err := infile.Read(settings, infile.Config)
	if err != nil {
		return ""
	}
	return parseSettings(text)
}

// parseSettings is downloadsFolder for the content of the file.
func parseSettings(text []byte) string {
	var s struct {
		DownloadsFolder string `json:"downloadsFolder"`
	}
	if json.Unmarshal(text, &s) != nil {
		return ""
	}
	return s.DownloadsFolder
}

// lmStudio finds publisher/repo[/file].
func lmStudio(name string) (string, error) {
	parts := strings.SplitN(name, "/", 3)
	if len(parts) < 2 || !fs.ValidPath(name) || strings.Contains(name, `\`) {
		return "", fmt.Errorf("expected lmstudio:PUBLISHER/REPOSITORY or lmstudio:PUBLISHER/REPOSITORY/FILE")
	}
	folders, err := lmStudioFolders()
	if err != nil {
		return "", err
	}
	var known []string
	for _, folder := range folders {
		dir := folder
		for _, part := range parts[:2] {
			entries, err := list(dir)
			if err != nil {
				return "", err
			}
			if found := sameFold(entries, part); found != "" {
				part = found
			}
			dir = filepath.Join(dir, part)
		}
		if exists(dir) {
			return inRepository(dir, strings.Join(parts[2:], ""))
		}
		repos, _ := filepath.Glob(filepath.Join(folder, "*", "*"))
		for _, repo := range repos {
			rel, _ := filepath.Rel(folder, repo)
			known = append(known, filepath.ToSlash(rel))
		}
	}
	return "", missing("not in LM Studio's folder %s, %s; to get it: lms get %s", strings.Join(folders, " or "),
		there(known, name), strings.Join(parts[:2], "/"))
}

// inRepository is the model in a folder of LM Studio: a GGUF file, or the folder itself where it has safetensors.
func inRepository(dir, file string) (string, error) {
	files, err := ggufs(dir)
	if err != nil {
		return "", err
	}
	weights, _ := filepath.Glob(filepath.Join(dir, "*.safetensors"))
	if file == "" && len(files) == 0 && len(weights) > 0 {
		return dir, nil
	}
	chosen, err := choose(files, file)
	if err != nil {
		return "", fmt.Errorf("%s: %w", dir, err)
	}
	return filepath.Join(dir, filepath.FromSlash(chosen)), nil
}

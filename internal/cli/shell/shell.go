// Package shell makes, from the flags of the verbs, what a shell completes command lines with, and manual pages.
package shell

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/peftconv/peftconv/internal/cli"
)

// Shells are the names of the shells that Completion writes for.
var Shells = []string{"bash", "zsh", "fish", "powershell"}

// Completion writes the script that lets a shell complete the command lines of a program.
func Completion(w io.Writer, shell string, p *cli.Program) error {
	verbs := verbsOf(p)
	var text string
	switch shell {
	case "bash":
		text = bash(p.Name, verbs)
	case "zsh":
		text = zsh(p.Name, verbs)
	case "fish":
		text = fish(p.Name, verbs)
	case "powershell":
		text = powerShell(p.Name, verbs)
	default:
		return cli.Usagef("%q is not a shell that is known, expected %s", shell, strings.Join(Shells, ", "))
	}
	_, err := io.WriteString(w, text)
	return err
}

// verb is what completion knows of a verb.
type verb struct {
	name, short string
	flags       []flagText
	values      []string // of the first argument; nil: files
}

// flagText is what completion knows of a flag.
type flagText struct {
	name, letter, usage string
	value               bool     // it needs a value
	choices             []string // the values that it can have; nil: files
}

// spellings are the flag's name and letter, with dashes.
func (f *flagText) spellings() []string {
	if f.letter == "" {
		return []string{"--" + f.name}
	}
	return []string{"--" + f.name, "-" + f.letter}
}

func verbsOf(p *cli.Program) []verb {
	var verbs []verb
	names := make([]string, 0, len(p.Verbs))
	for _, v := range p.Verbs {
		names = append(names, v.Name)
		one := verb{name: v.Name, short: v.Short, values: v.Values}
		v.FlagSet(v.New()).VisitAll(func(f *pflag.Flag) {
			if f.Hidden {
				return
			}
			_, usage := pflag.UnquoteUsage(f)
			one.flags = append(one.flags, flagText{f.Name, f.Shorthand, firstSentence(usage), f.NoOptDefVal == "",
				cli.ChoicesOf(f)})
		})
		one.flags = append(one.flags, flagText{name: "help", letter: "h", usage: "what the verb does, and its flags"})
		verbs = append(verbs, one)
	}
	help := verb{name: "help", short: "what a verb does, and its flags", values: names}
	return append(verbs, help, verb{name: "version", short: "which release this is", values: []string{}})
}

// firstSentence is enough of a flag's text for a list.
func firstSentence(text string) string {
	if i := strings.IndexAny(text, ":;("); i > 0 {
		text = text[:i]
	}
	return strings.TrimSpace(text)
}

// bash is a function that looks at the word before the cursor.
func bash(program string, verbs []verb) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# bash completion for %[1]s: source <(%[1]s completion bash)\n_%[1]s() {\n", program)
	b.WriteString(`    local cur="${COMP_WORDS[COMP_CWORD]}" prev="${COMP_WORDS[COMP_CWORD-1]}" words="" first=""
    COMPREPLY=()
    if [[ $COMP_CWORD -eq 1 ]]; then
`)
	fmt.Fprintf(&b, "        COMPREPLY=($(compgen -W '%s' -- \"$cur\"))\n        return\n    fi\n", namesOf(verbs))
	b.WriteString("    case \"${COMP_WORDS[1]} $prev\" in\n")
	for _, v := range verbs {
		for _, f := range v.flags {
			if !f.value {
				continue
			}
			var patterns []string
			for _, s := range f.spellings() {
				patterns = append(patterns, fmt.Sprintf("'%s %s'", v.name, s))
			}
			action := `compgen -f -- "$cur"`
			if f.choices != nil {
				action = fmt.Sprintf(`compgen -W '%s' -- "$cur"`, strings.Join(f.choices, " "))
			}
			fmt.Fprintf(&b, "    %s) COMPREPLY=($(%s)); return ;;\n", strings.Join(patterns, "|"), action)
		}
	}
	b.WriteString("    esac\n    case \"${COMP_WORDS[1]}\" in\n")
	for _, v := range verbs {
		var flags []string
		for _, f := range v.flags {
			flags = append(flags, "--"+f.name)
		}
		fmt.Fprintf(&b, "    %s) words='%s' first='%s' ;;\n", v.name, strings.Join(flags, " "), strings.Join(v.values, " "))
	}
	b.WriteString(`    esac
    if [[ $cur == -* ]]; then
        COMPREPLY=($(compgen -W "$words" -- "$cur"))
    elif [[ -n $first ]]; then
        COMPREPLY=($(compgen -W "$first" -- "$cur"))
    else
        COMPREPLY=($(compgen -f -- "$cur"))
    fi
}
`)
	fmt.Fprintf(&b, "complete -o filenames -F _%[1]s %[1]s\n", program)
	return b.String()
}

func namesOf(verbs []verb) string {
	names := make([]string, len(verbs))
	for i, v := range verbs {
		names[i] = v.name
	}
	return strings.Join(names, " ")
}

// zsh is a function around _arguments.
func zsh(program string, verbs []verb) string {
	var b strings.Builder
	fmt.Fprintf(&b, "#compdef %[1]s\n# zsh completion for %[1]s: put it into a folder of $fpath as _%[1]s\n_%[1]s() {\n",
		program)
	b.WriteString("    local -a verbs\n    if (( CURRENT == 2 )); then\n        verbs=(\n")
	for _, v := range verbs {
		fmt.Fprintf(&b, "            %s\n", single(v.name+":"+v.short))
	}
	b.WriteString("        )\n        _describe 'verb' verbs\n        return\n    fi\n    local verb=$words[2]\n" +
		"    shift words\n    (( CURRENT-- ))\n    case $verb in\n")
	escape := strings.NewReplacer(`\`, `\\`, "[", `\[`, "]", `\]`, ":", `\:`)
	for _, v := range verbs {
		fmt.Fprintf(&b, "    %s) _arguments", v.name)
		for _, f := range v.flags {
			for _, s := range f.spellings() {
				spec := fmt.Sprintf("%s[%s]", s, escape.Replace(f.usage))
				switch {
				case f.choices != nil:
					spec += fmt.Sprintf(":%s:(%s)", f.name, strings.Join(f.choices, " "))
				case f.value:
					spec += fmt.Sprintf(":%s:_files", f.name)
				}
				fmt.Fprintf(&b, " \\\n        %s", single(spec))
			}
		}
		if len(v.values) > 0 {
			fmt.Fprintf(&b, " \\\n        %s", single(fmt.Sprintf("1:%s:(%s)", v.name, strings.Join(v.values, " "))))
		}
		b.WriteString(" \\\n        '*:file:_files' ;;\n")
	}
	fmt.Fprintf(&b, "    esac\n}\n_%s \"$@\"\n", program)
	return b.String()
}

// single is a word in single quotes, as bash, zsh and fish read it.
func single(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// fish is a list of complete commands.
func fish(program string, verbs []verb) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# fish completion for %[1]s: %[1]s completion fish | source\n", program)
	for _, v := range verbs {
		fmt.Fprintf(&b, "complete -c %s -n __fish_use_subcommand -f -a %s -d %s\n", program, v.name, fishQuote(v.short))
		when := fishQuote("__fish_seen_subcommand_from " + v.name)
		if v.values != nil {
			fmt.Fprintf(&b, "complete -c %s -n %s -f -a %s\n", program, when, fishQuote(strings.Join(v.values, " ")))
		}
		for _, f := range v.flags {
			line := fmt.Sprintf("complete -c %s -n %s -l %s", program, when, f.name)
			if f.letter != "" {
				line += " -s " + f.letter
			}
			switch {
			case f.choices != nil:
				line += " -x -a " + fishQuote(strings.Join(f.choices, " "))
			case f.value:
				line += " -r"
			}
			fmt.Fprintf(&b, "%s -d %s\n", line, fishQuote(f.usage))
		}
	}
	return b.String()
}

// fishQuote is a word in single quotes, in which fish knows \\ and \'.
func fishQuote(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, "'", `\'`).Replace(s) + "'"
}

// powerShell registers a completer with tables of flags and values.
func powerShell(program string, verbs []verb) string {
	quote := func(words []string) string {
		quoted := make([]string, len(words))
		for i, word := range words {
			quoted[i] = "'" + strings.ReplaceAll(word, "'", "''") + "'"
		}
		return strings.Join(quoted, ", ")
	}
	var b strings.Builder
	fmt.Fprintf(&b, "# PowerShell completion for %[1]s: %[1]s completion powershell | Out-String | Invoke-Expression\n"+
		"Register-ArgumentCompleter -Native -CommandName %[1]s -ScriptBlock {\n"+
		"    param($word, $ast, $cursor)\n    $flags = @{\n", program)
	for _, v := range verbs {
		var flags []string
		for _, f := range v.flags {
			flags = append(flags, "--"+f.name)
		}
		fmt.Fprintf(&b, "        '%s' = @(%s)\n", v.name, quote(append(slices.Clone(v.values), flags...)))
	}
	b.WriteString("    }\n    $values = @{\n")
	for _, v := range verbs {
		for _, f := range v.flags {
			if f.choices != nil {
				fmt.Fprintf(&b, "        '%s --%s' = @(%s)\n", v.name, f.name, quote(f.choices))
			}
		}
	}
	b.WriteString(`    }
    $words = @($ast.CommandElements | ForEach-Object { $_.ToString() })
    if ($word -ne '') { $words = @($words | Select-Object -First ($words.Count - 1)) }
    if ($words.Count -le 1) { $list = $flags.Keys | Sort-Object }
    elseif ($values.ContainsKey("$($words[1]) $($words[-1])")) { $list = $values["$($words[1]) $($words[-1])"] }
    else { $list = $flags[$words[1]] }
    $list | Where-Object { $_ -like "$word*" } | ForEach-Object {
        [System.Management.Automation.CompletionResult]::new($_, $_, 'ParameterValue', $_)
    }
}
`)
	return b.String()
}

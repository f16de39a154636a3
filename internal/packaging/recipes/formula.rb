class Peftconv < Formula
  desc "Fine-tune quantized language models on a CPU"
  homepage "https://{{.Module}}"
  version "{{.Version}}"
  license "Apache-2.0"

  on_macos do
    on_arm do
      url "https://{{.Module}}/releases/download/{{.Tag}}/{{.Archive.darwin_arm64}}"
      sha256 "{{.Sum.darwin_arm64}}"
    end
    on_intel do
      url "https://{{.Module}}/releases/download/{{.Tag}}/{{.Archive.darwin_amd64}}"
      sha256 "{{.Sum.darwin_amd64}}"
    end
  end

  on_linux do
    on_arm do
      url "https://{{.Module}}/releases/download/{{.Tag}}/{{.Archive.linux_arm64}}"
      sha256 "{{.Sum.linux_arm64}}"
    end
    on_intel do
      url "https://{{.Module}}/releases/download/{{.Tag}}/{{.Archive.linux_amd64}}"
      sha256 "{{.Sum.linux_amd64}}"
    end
  end

  def install
    bin.install "peftconv"
    man1.install Dir["man/man1/*.1"]
    bash_completion.install "completion/peftconv.bash" => "peftconv"
    zsh_completion.install "completion/_peftconv"
    fish_completion.install "completion/peftconv.fish"
  end

  test do
    assert_match "{{.Tag}}", shell_output("#{bin}/peftconv version")
  end
end

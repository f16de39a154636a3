package shell

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"github.com/spf13/pflag"

	"github.com/peftconv/peftconv/internal/atomicfile"
	"github.com/peftconv/peftconv/internal/cli"
)

// WriteMan writes manual pages into a directory, which is made where there is none: one of the program and one of each
// verb. It returns their names.
func WriteMan(dir string, p *cli.Program) (files []string, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	write := func(name, text string) {
		if err != nil {
			return
		}
		err = atomicfile.Write(filepath.Join(dir, name), func(w io.Writer) error {
			_, err := io.WriteString(w, text)
			return err
		})
		files = append(files, name)
	}
	write(p.Name+".1", programPage(p))
	for _, v := range p.Verbs {
		write(p.Name+"-"+v.Name+".1", verbPage(p, v))
	}
	return files, err
}

// exitText is the section on exit statuses, which all pages have.
const exitText = `.SH EXIT STATUS
0 done, 1 failed, 2 wrong usage, 130 interrupted, 141 nobody reads the output any more.
`

func programPage(p *cli.Program) string {
	var b strings.Builder
	intro, _, _ := strings.Cut(p.Intro, "\n")
	fmt.Fprintf(&b, ".TH %s 1 \"\" \"%s %s\"\n.SH NAME\n%s \\- %s\n", strings.ToUpper(p.Name), p.Name,
		roff(p.Version), p.Name, roff(strings.TrimSuffix(strings.TrimPrefix(intro, p.Name+" "), ".")))
	fmt.Fprintf(&b, ".SH SYNOPSIS\n.B %s\n.I VERB\n[flags]\n.SH VERBS\n", p.Name)
	for _, v := range p.Verbs {
		fmt.Fprintf(&b, ".TP\n.B %s\n%s; see\n.BR %s\\-%s (1).\n", v.Name, roff(v.Short), p.Name, v.Name)
	}
	b.WriteString(".SH NAMES OF MODELS\n" + paragraphs(p.Outro) + exitText)
	return b.String()
}

func verbPage(p *cli.Program, v *cli.Verb) string {
	var b strings.Builder
	name := p.Name + "-" + v.Name
	fmt.Fprintf(&b, ".TH %s 1 \"\" \"%s %s\"\n.SH NAME\n%s \\- %s\n", strings.ToUpper(name), p.Name, roff(p.Version),
		roff(name), roff(v.Short))
	fmt.Fprintf(&b, ".SH SYNOPSIS\n.nf\n%s\n.fi\n.SH DESCRIPTION\n%s.SH OPTIONS\n", roff(v.UsageLine()),
		paragraphs(v.Long))
	v.FlagSet(v.New()).VisitAll(func(f *pflag.Flag) {
		if f.Hidden {
			return
		}
		left, text := cli.FlagTexts(f)
		fmt.Fprintf(&b, ".TP\n.B %s\n%s\n", roff(strings.TrimSpace(left)), roff(text))
	})
	if len(v.Examples) > 0 {
		b.WriteString(".SH EXAMPLES\n.nf\n")
		for _, e := range v.Examples {
			b.WriteString(roff(e) + "\n")
		}
		b.WriteString(".fi\n")
	}
	fmt.Fprintf(&b, "%s.SH SEE ALSO\n.BR %s (1)\n", exitText, p.Name)
	return b.String()
}

// paragraphs is a text as a manual page has it: indented lines stay as they are.
func paragraphs(text string) string {
	var b strings.Builder
	literal := false
	for line := range strings.Lines(strings.Trim(text, "\n")) {
		line = strings.TrimRight(line, "\n")
		if indented := strings.HasPrefix(line, " "); indented != literal && line != "" {
			b.WriteString(map[bool]string{true: ".nf\n", false: ".fi\n"}[indented])
			literal = indented
		}
		if line == "" {
			line = ".PP"
		} else {
			line = roff(line)
		}
		b.WriteString(line + "\n")
	}
	if literal {
		b.WriteString(".fi\n")
	}
	return b.String()
}

// roff is a line of text for troff: backslashes, dashes and what is not ASCII are escaped, and a first letter that
// would begin a request.
func roff(s string) string {
	var b strings.Builder
	if strings.HasPrefix(s, ".") || strings.HasPrefix(s, "'") {
		b.WriteString(`\&`)
	}
	for _, r := range s {
		switch {
		case r == '\\':
			b.WriteString(`\e`)
		case r == '-':
			b.WriteString(`\-`)
		case r >= utf8.RuneSelf:
			fmt.Fprintf(&b, `\[u%04X]`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

package claviger

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"strings"
)

const maxDotenvBytes = 1 << 20

// DotenvKey reads a variable from a `.env` file of mode 0600. A variable of the process comes before the file's.
func DotenvKey(path, name string) KeySource {
	return keep(fileKeyTTL, func(context.Context) (Secret, error) {
		if text := os.Getenv(name); text != "" {
			return tidy(text)
		}
		text, err := readPrivateFile(path, maxDotenvBytes)
		if err != nil {
			return Secret{}, err
		}
		values, err := ParseDotenv(string(text))
		if err != nil {
			return Secret{}, fmt.Errorf("%s: %w", path, err)
		}
		secret, err := tidy(values[name])
		if err != nil {
			return Secret{}, fmt.Errorf("%s in %s: %w", name, path, err)
		}
		return secret, nil
	})
}

// DotenvError names the line that cannot be read, and never its text.
type DotenvError struct {
	// Line counts from 1.
	Line int
}

func (e *DotenvError) Error() string {
	return fmt.Sprintf("claviger: line %d is not NAME=VALUE", e.Line)
}

var dotenvName = regexp.MustCompile(`^[A-Za-z_][0-9A-Za-z_]*$`)

// ParseDotenv reads lines NAME=VALUE. Nothing is expanded or run; the last of equal names counts.
func ParseDotenv(text string) (map[string]string, error) {
	values := map[string]string{}
	text = strings.TrimPrefix(text, "\ufeff")
	for number, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		name, rest, found := strings.Cut(line, "=")
		name = strings.TrimSpace(name)
		if exported, isExport := strings.CutPrefix(name, "export"); isExport && strings.HasPrefix(exported, " ") {
			name = strings.TrimSpace(exported)
		}
		value, valid := dotenvValue(rest)
		if !found || !valid || !dotenvName.MatchString(name) {
			return nil, &DotenvError{Line: number + 1}
		}
		values[name] = value
	}
	return values, nil
}

func dotenvValue(rest string) (string, bool) {
	text := strings.TrimSpace(rest)
	if text == "" || (text[0] != '\'' && text[0] != '"') {
		return bareValue(rest), true
	}
	var value strings.Builder
	quote := text[0]
	for at := 1; at < len(text); at++ {
		char := text[at]
		switch {
		case char == quote:
			after := strings.TrimLeft(text[at+1:], " \t")
			return value.String(), after == "" || after[0] == '#'
		case char == '\\' && quote == '"' && at+1 < len(text):
			at++
			value.WriteString(unescaped(text[at]))
		default:
			value.WriteByte(char)
		}
	}
	return "", false
}

func unescaped(char byte) string {
	switch char {
	case 'n':
		return "\n"
	case 'r':
		return "\r"
	case 't':
		return "\t"
	case '"', '\\', '$':
		return string(char)
	}
	return `\` + string(char)
}

// bareValue ends at a # that follows a blank.
func bareValue(text string) string {
	for at := 1; at < len(text); at++ {
		if text[at] == '#' && (text[at-1] == ' ' || text[at-1] == '\t') {
			text = text[:at]
			break
		}
	}
	return strings.TrimSpace(text)
}

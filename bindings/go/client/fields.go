package client

import "strings"

// longestHeader is the longest value read: no quota needs more.
const longestHeader = 4096

// item is one member of a list of structured fields, key=value;name=param,
// with strings without their quotes.
type item struct {
	key      string
	value    string
	hasValue bool
	params   map[string]string
}

// parseItems reads the part of HTTP structured fields that rate limit headers
// use. An item that cannot be read is left out; what follows it is still read.
// With an unclosed quote nothing is read.
func parseItems(text string) []item {
	if len(text) > longestHeader {
		return nil
	}
	var found []item
	for len(text) > 0 {
		part, rest, ok := cut(text, ',')
		if !ok {
			return nil
		}
		if read, ok := parseItem(part); ok {
			found = append(found, read)
		}
		text = rest
	}
	return found
}

func parseItem(text string) (item, bool) {
	head, params, _ := cut(text, ';')
	name, value, _ := cut(head, '=')
	read := item{key: token(name), params: map[string]string{}}
	if read.key == "" {
		return item{}, false
	}
	if len(name) < len(head) {
		read.value = token(value)
		read.hasValue = read.value != ""
	}
	if !strings.HasPrefix(strings.TrimSpace(name), `"`) {
		read.key = strings.ToLower(read.key)
	}
	for len(params) > 0 {
		var param string
		param, params, _ = cut(params, ';')
		name, value, _ := cut(param, '=')
		if name = strings.ToLower(token(name)); name != "" {
			read.params[name] = token(value)
		}
	}
	return read, true
}

// cut splits at the first separator outside of quotes. It is false if a quote
// is not closed.
func cut(text string, separator byte) (before, after string, ok bool) {
	quoted := false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"':
			quoted = !quoted
		case c == '\\' && quoted:
			i++
		case c == separator && !quoted:
			return text[:i], text[i+1:], true
		}
	}
	return text, "", !quoted
}

// token is a bare word, or a string without its quotes; "" if it is neither.
func token(text string) string {
	text = strings.TrimSpace(text)
	if len(text) >= 2 && text[0] == '"' && text[len(text)-1] == '"' {
		return unescape(text[1 : len(text)-1])
	}
	if strings.ContainsAny(text, "\" \t") {
		return ""
	}
	return text
}

func unescape(text string) string {
	if strings.IndexByte(text, '\\') < 0 {
		return text
	}
	var plain strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] == '\\' && i+1 < len(text) {
			i++
		}
		plain.WriteByte(text[i])
	}
	return plain.String()
}

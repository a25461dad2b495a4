package claviger

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
)

// Usage is what one answer says it used.
type Usage struct {
	// Model that answered; empty when the answer says nothing of usage.
	Model        string
	Input        int64
	Output       int64
	CacheWrite5m int64
	CacheWrite1h int64
	CacheRead    int64
}

// Prompt is the input side: input, cache writes and cache reads.
func (u Usage) Prompt() int64 { return u.Input + u.CacheWrite5m + u.CacheWrite1h + u.CacheRead }

// wireUsage is `usage` of an answer; what is absent or null says nothing.
type wireUsage struct {
	Input      *int64 `json:"input_tokens"`
	Output     *int64 `json:"output_tokens"`
	CacheWrite *int64 `json:"cache_creation_input_tokens"`
	CacheRead  *int64 `json:"cache_read_input_tokens"`
	Split      *struct {
		FiveMinutes int64 `json:"ephemeral_5m_input_tokens"`
		Hour        int64 `json:"ephemeral_1h_input_tokens"`
	} `json:"cache_creation"`
}

// apply puts what was said over what was known. Without the split, cache writes count as those of 5 minutes.
func (w *wireUsage) apply(usage *Usage) {
	set := func(place *int64, value *int64) {
		if value != nil {
			*place = max(0, *value)
		}
	}
	set(&usage.Input, w.Input)
	set(&usage.Output, w.Output)
	set(&usage.CacheRead, w.CacheRead)
	switch {
	case w.Split != nil:
		usage.CacheWrite5m, usage.CacheWrite1h = max(0, w.Split.FiveMinutes), max(0, w.Split.Hour)
	case w.CacheWrite != nil && usage.CacheWrite5m+usage.CacheWrite1h != *w.CacheWrite:
		usage.CacheWrite5m, usage.CacheWrite1h = max(0, *w.CacheWrite), 0
	}
}

// What is held of an answer to read its usage; a longer one is not metered.
const (
	maxMeteredJSON = 8 << 20
	maxMeteredLine = 1 << 20
)

// meter reads usage from the bytes of one answer as they pass.
type meter interface {
	write(text []byte)
	// end gives the usage, if any, and whether the answer came whole as its own format says.
	end() (usage Usage, ended bool)
}

// newMeter picks by the content type; nil for an answer that says nothing of usage.
func newMeter(path string, response *http.Response) meter {
	if response.StatusCode != http.StatusOK || response.Header.Get("Content-Encoding") != "" {
		return nil
	}
	kind := response.Header.Get("Content-Type")
	switch {
	case strings.HasPrefix(kind, "text/event-stream"):
		return &streamMeter{}
	case strings.HasPrefix(kind, "application/json") && strings.HasSuffix(path, "/v1/messages"):
		return &jsonMeter{}
	}
	return nil
}

type jsonMeter struct {
	text    bytes.Buffer
	tooLong bool
}

func (m *jsonMeter) write(text []byte) {
	if m.tooLong || m.text.Len()+len(text) > maxMeteredJSON {
		m.tooLong = true
		m.text.Reset()
		return
	}
	_, _ = m.text.Write(text)
}

func (m *jsonMeter) end() (Usage, bool) {
	var answer struct {
		Model string     `json:"model"`
		Usage *wireUsage `json:"usage"`
	}
	if json.Unmarshal(m.text.Bytes(), &answer) != nil || answer.Usage == nil {
		return Usage{}, !m.tooLong
	}
	usage := Usage{Model: answer.Model}
	answer.Usage.apply(&usage)
	return usage, true
}

// streamMeter reads the events `message_start`, `message_delta` and `message_stop`.
// An event counts once the empty line after it has come.
type streamMeter struct {
	line    []byte
	skip    bool
	afterCR bool
	data    []byte
	usage   Usage
	stopped bool
}

func (m *streamMeter) write(text []byte) {
	for len(text) > 0 {
		if m.afterCR && text[0] == '\n' {
			text = text[1:]
		}
		m.afterCR = false
		length := bytes.IndexAny(text, "\r\n")
		if length < 0 {
			m.hold(text)
			return
		}
		m.hold(text[:length])
		m.afterCR = text[length] == '\r'
		text = text[length+1:]
		if !m.skip {
			m.endLine()
		}
		m.line, m.skip = m.line[:0], false
	}
}

// hold keeps a part of a line, unless the line is too long to be of interest.
func (m *streamMeter) hold(part []byte) {
	if m.skip || len(m.line)+len(part) > maxMeteredLine {
		m.skip = true
		return
	}
	m.line = append(m.line, part...)
}

func (m *streamMeter) endLine() {
	if len(m.line) == 0 {
		if len(m.data) > 0 {
			m.read(m.data)
			m.data = m.data[:0]
		}
		return
	}
	data, isData := bytes.CutPrefix(m.line, []byte("data:"))
	// Most lines are deltas of text; they are not kept.
	if isData && bytes.Contains(data[:min(len(data), 64)], []byte(`"message_`)) {
		m.data = append(m.data[:0], data...)
	}
}

func (m *streamMeter) read(data []byte) {
	var event struct {
		Type    string `json:"type"`
		Message struct {
			Model string     `json:"model"`
			Usage *wireUsage `json:"usage"`
		} `json:"message"`
		Usage *wireUsage `json:"usage"`
	}
	if json.Unmarshal(data, &event) != nil {
		return
	}
	switch event.Type {
	case "message_start":
		m.usage.Model = event.Message.Model
		if event.Message.Usage != nil {
			event.Message.Usage.apply(&m.usage)
		}
	case "message_delta":
		if event.Usage != nil {
			event.Usage.apply(&m.usage)
		}
	case "message_stop":
		m.stopped = true
	}
}

func (m *streamMeter) end() (Usage, bool) { return m.usage, m.stopped }

// watchedBody passes an answer on and looks at it.
type watchedBody struct {
	inner   io.ReadCloser
	meter   meter
	copy    *bytes.Buffer
	limit   int
	keep    func(text []byte)
	release func()
	// done is called once, at the end or when the body is closed before it.
	done     func(usage Usage, broken bool)
	finished bool
}

func (w *watchedBody) Read(into []byte) (int, error) {
	count, err := w.inner.Read(into)
	if w.meter != nil {
		w.meter.write(into[:count])
	}
	if w.copy != nil {
		_, _ = w.copy.Write(into[:count])
		if w.copy.Len() > w.limit {
			w.copy = nil
		}
	}
	if err != nil {
		w.finish(err)
	}
	return count, err
}

// Close ends the watch: the caller wants no more.
func (w *watchedBody) Close() error {
	w.finish(nil)
	return w.inner.Close()
}

func (w *watchedBody) finish(why error) {
	if w.finished {
		return
	}
	w.finished = true
	var usage Usage
	if w.meter != nil {
		usage, _ = w.meter.end()
	}
	if why == io.EOF && w.copy != nil {
		w.keep(w.copy.Bytes())
	}
	w.release()
	w.done(usage, why != nil && why != io.EOF)
}

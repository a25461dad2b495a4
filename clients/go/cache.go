package claviger

import (
	"bytes"
	"container/list"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Defaults of a [Cache].
const (
	DefaultCacheTTL     = 300 * time.Second
	DefaultCacheEntries = 256
	DefaultCacheEntry   = 1 << 20
	// CacheHeader is on answers from the cache, with the value "hit".
	CacheHeader = "X-Claviger-Client-Cache"
)

// CacheConfig bounds a [Cache]; what is 0 is at its default.
type CacheConfig struct {
	// TTL of an answer.
	TTL time.Duration
	// Entries at most; the least recently used goes first.
	Entries int
	// EntryBytes is the longest body that is kept.
	EntryBytes int
}

// Cache answers a request that equals an earlier one: same key, address, API version, betas, and the same body byte
// for byte. Only whole, successful, non-streaming answers of `/v1/messages` and `count_tokens` are kept. Sampling
// makes repeated answers differ, so this is off unless a [Config] has one.
type Cache struct {
	config CacheConfig

	mutex  sync.Mutex
	places map[cacheKey]*list.Element
	order  list.List
}

type cacheKey [sha256.Size]byte

type cached struct {
	key    cacheKey
	header http.Header
	body   []byte
	until  time.Time
}

// NewCache makes a cache.
func NewCache(config CacheConfig) *Cache {
	if config.TTL <= 0 {
		config.TTL = DefaultCacheTTL
	}
	if config.Entries <= 0 {
		config.Entries = DefaultCacheEntries
	}
	if config.EntryBytes <= 0 {
		config.EntryBytes = DefaultCacheEntry
	}
	return &Cache{config: config, places: map[cacheKey]*list.Element{}}
}

// keyOf says whether a request may be answered from the cache, and under which key.
func (c *Cache) keyOf(request *http.Request, body *content, source KeySource) (cacheKey, bool) {
	isPost := request.Method == http.MethodPost && body.exists && body.canRepeat()
	path := request.URL.Path
	isKnown := strings.HasSuffix(path, "/v1/messages") || strings.HasSuffix(path, "/v1/messages/count_tokens")
	if c == nil || !isPost || !isKnown || isStreaming(body) {
		return cacheKey{}, false
	}
	// Another key is another tenant, with other rights and limits.
	secret, err := source.Key(request.Context())
	if err != nil {
		return cacheKey{}, false
	}
	message := messageOf(request)
	tenant := sha256.Sum256([]byte(secret.text))
	hasher := sha256.New()
	parts := []string{
		hex.EncodeToString(tenant[:]), message.Authority, message.Path, message.Query,
		strings.Join(request.Header.Values("Anthropic-Version"), ","),
		strings.Join(request.Header.Values("Anthropic-Beta"), ","),
		strings.Join(request.Header.Values("Anthropic-Workspace-Id"), ","),
		hex.EncodeToString(body.digest[:]),
	}
	for _, part := range parts {
		// A header cannot hold a line feed: no two lists of parts give the same text.
		_, _ = io.WriteString(hasher, part+"\n")
	}
	return cacheKey(hasher.Sum(nil)), true
}

// isStreaming reads `stream` of the body; a body that is not understood is not cached either.
func isStreaming(body *content) bool {
	reader, err := body.open()
	if err != nil {
		return true
	}
	defer func() { _ = reader.Close() }()
	var head struct {
		Stream json.RawMessage `json:"stream"`
	}
	if json.NewDecoder(reader).Decode(&head) != nil {
		return true
	}
	return head.Stream != nil && !bytes.Equal(head.Stream, []byte("false"))
}

func isKeepable(response *http.Response) bool {
	isJSON := strings.HasPrefix(response.Header.Get("Content-Type"), "application/json")
	return response.StatusCode == http.StatusOK && isJSON && response.Header.Get("Content-Encoding") == ""
}

// answer gives a fresh answer, or nil.
func (c *Cache) answer(key cacheKey, request *http.Request, now time.Time) *http.Response {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	place, found := c.places[key]
	if !found {
		return nil
	}
	entry, _ := place.Value.(*cached)
	if !now.Before(entry.until) {
		c.drop(place)
		return nil
	}
	c.order.MoveToFront(place)
	header := entry.header.Clone()
	header.Set(CacheHeader, "hit")
	if request.Body != nil {
		_ = request.Body.Close()
	}
	return &http.Response{
		Status:        "200 OK",
		StatusCode:    http.StatusOK,
		Proto:         "HTTP/1.1",
		ProtoMajor:    1,
		ProtoMinor:    1,
		Header:        header,
		Body:          io.NopCloser(bytes.NewReader(entry.body)),
		ContentLength: int64(len(entry.body)),
		Request:       request,
	}
}

// put keeps an answer that came whole.
func (c *Cache) put(key cacheKey, response *http.Response, body []byte, now time.Time) {
	if len(body) > c.config.EntryBytes {
		return
	}
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if place, found := c.places[key]; found {
		c.drop(place)
	}
	entry := &cached{key: key, header: response.Header.Clone(), body: body, until: now.Add(c.config.TTL)}
	c.places[key] = c.order.PushFront(entry)
	for c.order.Len() > c.config.Entries {
		c.drop(c.order.Back())
	}
}

func (c *Cache) drop(place *list.Element) {
	if entry, isEntry := c.order.Remove(place).(*cached); isEntry {
		delete(c.places, entry.key)
	}
}

package claviger_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"time"

	claviger "claviger.example/client-go"
)

func ExampleNew() {
	stats := claviger.NewStats(nil)
	transport, err := claviger.New(claviger.Config{
		BaseURL: "https://gateway.example",
		Key:     claviger.FileKey("/run/secrets/claviger-key"),
		Auth:    claviger.AuthToken,
		Signer:  &claviger.Signer{Profile: claviger.ProfileRFC9421, Secret: claviger.EnvKey("CLAVIGER_SIGNING_SECRET")},
		Limiter: claviger.NewLimiter(claviger.Limits{Concurrency: 20, PerSecond: 10, Burst: 5, MaxWait: 30 * time.Second}),
		Stats:   stats,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	client := &http.Client{Transport: transport}
	_ = client
	fmt.Println(stats.Snapshot().Requests)
	// Output: 0
}

func ExampleRunBatch() {
	texts := []string{"one", "two", "three"}
	results := claviger.RunBatch(context.Background(), texts, claviger.BatchOptions{Concurrency: 2, Rounds: 3},
		func(_ context.Context, text string) (int, error) { return len(text), nil })
	for _, result := range results {
		fmt.Println(result.Value)
	}
	// Output:
	// 3
	// 3
	// 5
}

func ExampleRedactor_Handler() {
	plain := slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{
		ReplaceAttr: func(_ []string, attr slog.Attr) slog.Attr {
			if attr.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return attr
		},
	})
	logger := slog.New(claviger.NewRedactor().Handler(plain))
	logger.Info("calling", "authorization", "Bearer abc", "model", "claude-opus-5-5")
	// Output: level=INFO msg=calling authorization=[redacted] model=claude-opus-5-5
}

func ExampleWithContentDigest() {
	// The digest of a large file, made in an earlier pass over it, lets it stream.
	digest := [32]byte{}
	ctx := claviger.WithContentDigest(context.Background(), digest)
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://gateway.example/v1/files", io.NopCloser(strings.NewReader("")))
	fmt.Println(request.Method, err)
	// Output: POST <nil>
}

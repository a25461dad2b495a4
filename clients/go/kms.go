package claviger

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"time"
)

// ErrKMS says what is missing or wrong in the settings of a key management service.
var ErrKMS = errors.New("claviger: key management service")

const kmsLimit = 10 * time.Second

// KMS names the service that opens sealed keys by the URI that `claviger seal-key --kms` was given.
//
// "awskms://[HOST]/KEY[?region=NAME]" takes AWS_REGION, AWS_ENDPOINT_URL_KMS, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY
// and AWS_SESSION_TOKEN from the environment; "hashivault://KEY[?mount=PATH]" takes VAULT_ADDR, VAULT_TOKEN and
// VAULT_NAMESPACE (or BAO_…). Where the service is never comes from a blob: whoever can change one must not learn what
// this program shows it. A client with a limit of 10 s sends the requests when client is nil.
func KMS(uri string, client *http.Client) (BlobOpener, error) {
	return newKMS(uri, client, os.Getenv, time.Now)
}

func newKMS(uri string, client *http.Client, getenv func(string) string, now func() time.Time) (BlobOpener, error) {
	if client == nil {
		client = &http.Client{Timeout: kmsLimit, CheckRedirect: neverFollow}
	}
	scheme, rest, _ := strings.Cut(uri, "://")
	place, query, _ := strings.Cut(rest, "?")
	switch scheme {
	case kmsAWS:
		return newAWSKMS(place, query, client, getenv, now)
	case kmsTransit, "openbao":
		return newTransit(place, query, client, getenv)
	}
	return nil, errNoKMSURI()
}

func errNoKMSURI() error {
	return fmt.Errorf("%w: not the address of a key: awskms://[HOST]/KEY[?region=NAME] or hashivault://KEY[?mount=PATH] is", ErrKMS)
}

// awsKMS is a key of AWS KMS, with the credentials that the environment had.
type awsKMS struct {
	client                *http.Client
	now                   func() time.Time
	key, region, endpoint string
	accessKeyID           string
	secretKey, session    Secret
}

var (
	awsKeyShape    = regexp.MustCompile(`^[0-9A-Za-z:/_-]+$`)
	awsRegionShape = regexp.MustCompile(`^[a-z0-9-]{1,32}$`)
)

func newAWSKMS(place, query string, client *http.Client, getenv func(string) string, now func() time.Time) (BlobOpener, error) {
	host, key, _ := strings.Cut(place, "/")
	region, err := kmsParameter(query, "region")
	if err != nil || !awsKeyShape.MatchString(key) {
		return nil, errNoKMSURI()
	}
	if parts := strings.Split(key, ":"); region == "" && parts[0] == "arn" && len(parts) > 3 {
		region = parts[3]
	}
	if region == "" {
		region, _ = firstSet(getenv, "AWS_REGION", "AWS_DEFAULT_REGION")
	}
	if !awsRegionShape.MatchString(region) {
		return nil, fmt.Errorf("%w: which region: name it as in ?region=eu-central-1, or set AWS_REGION", ErrKMS)
	}
	endpoint, err := awsEndpoint(host, region, getenv)
	if err != nil {
		return nil, err
	}
	id, err := firstSet(getenv, "AWS_ACCESS_KEY_ID")
	if err != nil {
		return nil, err
	}
	secret, err := firstSet(getenv, "AWS_SECRET_ACCESS_KEY")
	if err != nil {
		return nil, err
	}
	return &awsKMS{
		client: client, now: now, key: key, region: region, endpoint: endpoint, accessKeyID: id,
		secretKey: NewSecret(secret), session: NewSecret(getenv("AWS_SESSION_TOKEN")),
	}, nil
}

func awsEndpoint(host, region string, getenv func(string) string) (string, error) {
	endpoint, err := firstSet(getenv, "AWS_ENDPOINT_URL_KMS", "AWS_ENDPOINT_URL")
	switch {
	case host != "":
		endpoint = "http://" + host
		if address, err := url.Parse(endpoint); err != nil || checkTransport(address) != nil {
			endpoint = "https://" + host
		}
	case err != nil && strings.HasPrefix(region, "cn-"):
		endpoint = "https://kms." + region + ".amazonaws.com.cn"
	case err != nil:
		endpoint = "https://kms." + region + ".amazonaws.com"
	}
	endpoint, err = kmsAddress(endpoint)
	if _, rest, _ := strings.Cut(endpoint, "://"); err == nil && strings.Contains(rest, "/") {
		return "", fmt.Errorf("%w: the address of AWS KMS has no path", ErrKMS)
	}
	return endpoint, err
}

// DataKey asks AWS KMS, which compares the encryption context.
func (k *awsKMS) DataKey(ctx context.Context, blob *SealedBlob) ([]byte, error) {
	if blob.KMS != kmsAWS {
		return nil, fmt.Errorf("%w: another service sealed it", ErrSealed)
	}
	type encryptionContext struct {
		ID      string `json:"claviger:id"`
		Purpose string `json:"claviger:purpose"`
	}
	body, err := compactJSON(struct {
		KeyId             string
		CiphertextBlob    string
		EncryptionContext encryptionContext
	}{k.key, blob.WrappedKey, encryptionContext{blob.ID, blob.Purpose}})
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, k.endpoint+"/", bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKMS, err)
	}
	k.sign(request, body)
	var answer struct{ Plaintext string }
	if err := askKMS(k.client, request, "AWS KMS", &answer); err != nil {
		return nil, err
	}
	return dataKeyOf(answer.Plaintext, "AWS KMS")
}

// sign adds AWS Signature Version 4.
func (k *awsKMS) sign(request *http.Request, body []byte) {
	stamp := k.now().UTC().Format("20060102T150405Z")
	headers := [][2]string{{"content-type", "application/x-amz-json-1.1"}, {"host", request.URL.Host}, {"x-amz-date", stamp}}
	if !k.session.IsEmpty() {
		headers = append(headers, [2]string{"x-amz-security-token", k.session.text})
	}
	headers = append(headers, [2]string{"x-amz-target", "TrentService.Decrypt"})
	var names, lines []string
	for _, header := range headers {
		names = append(names, header[0])
		lines = append(lines, header[0]+":"+header[1]+"\n")
		if header[0] != "host" {
			request.Header.Set(header[0], header[1])
		}
	}
	named := strings.Join(names, ";")
	canonical := "POST\n/\n\n" + strings.Join(lines, "") + "\n" + named + "\n" + hexSHA256(body)
	scope := []string{stamp[:8], k.region, "kms", "aws4_request"}
	toSign := "AWS4-HMAC-SHA256\n" + stamp + "\n" + strings.Join(scope, "/") + "\n" + hexSHA256([]byte(canonical))
	key := []byte("AWS4" + k.secretKey.text)
	for _, part := range append(scope[:4:4], toSign) {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(part))
		key = mac.Sum(nil)
	}
	request.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential="+k.accessKeyID+"/"+strings.Join(scope, "/")+
		", SignedHeaders="+named+", Signature="+hex.EncodeToString(key))
}

func hexSHA256(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// transit is a key of the transit engine of Vault or OpenBao.
type transit struct {
	client                         *http.Client
	address, mount, key, namespace string
	token                          Secret
}

var pathPartShape = regexp.MustCompile(`^[0-9A-Za-z._-]+$`)

func newTransit(key, query string, client *http.Client, getenv func(string) string) (BlobOpener, error) {
	mount, err := kmsParameter(query, "mount")
	if mount == "" {
		mount = "transit"
	}
	for _, part := range append(strings.Split(mount, "/"), key) {
		if err != nil || !pathPartShape.MatchString(part) || part == "." || part == ".." {
			return nil, errNoKMSURI()
		}
	}
	named, err := firstSet(getenv, "BAO_ADDR", "VAULT_ADDR")
	if err != nil {
		return nil, err
	}
	address, err := kmsAddress(named)
	if err != nil {
		return nil, err
	}
	token, err := firstSet(getenv, "BAO_TOKEN", "VAULT_TOKEN")
	if err != nil {
		return nil, err
	}
	namespace, _ := firstSet(getenv, "BAO_NAMESPACE", "VAULT_NAMESPACE")
	return &transit{client, address, mount, key, namespace, NewSecret(token)}, nil
}

// DataKey asks the transit engine, which compares the associated data.
func (t *transit) DataKey(ctx context.Context, blob *SealedBlob) ([]byte, error) {
	if blob.KMS != kmsTransit {
		return nil, fmt.Errorf("%w: another service sealed it", ErrSealed)
	}
	body, err := compactJSON(struct {
		Ciphertext     string `json:"ciphertext"`
		AssociatedData []byte `json:"associated_data"`
	}{blob.WrappedKey, blob.AssociatedData()})
	if err != nil {
		return nil, err
	}
	target := t.address + "/v1/" + t.mount + "/decrypt/" + t.key
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, target, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKMS, err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("X-Vault-Token", t.token.text)
	request.Header.Set("X-Vault-Request", "true")
	if t.namespace != "" {
		request.Header.Set("X-Vault-Namespace", t.namespace)
	}
	var answer struct {
		Data struct {
			Plaintext string `json:"plaintext"`
		} `json:"data"`
	}
	if err := askKMS(t.client, request, "Vault", &answer); err != nil {
		return nil, err
	}
	return dataKeyOf(answer.Data.Plaintext, "Vault")
}

// askKMS reads the answer's JSON. An error repeats nothing of it.
func askKMS(client *http.Client, request *http.Request, name string, into any) error {
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("%w: %s did not answer: %w", ErrSealed, name, err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxBlobBytes))
	if err != nil {
		return fmt.Errorf("%w: %s did not answer: %w", ErrSealed, name, err)
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%w: %s answered %d", ErrSealed, name, response.StatusCode)
	}
	if json.Unmarshal(text, into) != nil {
		return fmt.Errorf("%w: the answer of %s is not what was expected", ErrSealed, name)
	}
	return nil
}

func dataKeyOf(text, name string) ([]byte, error) {
	key, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(key) != dataKeyBytes {
		return nil, fmt.Errorf("%w: the answer of %s is not what was expected", ErrSealed, name)
	}
	return key, nil
}

// compactJSON leaves &, < and > as they are: what is signed is what the other languages sign.
func compactJSON(value any) ([]byte, error) {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKMS, err)
	}
	return bytes.TrimSuffix(text.Bytes(), []byte("\n")), nil
}

// kmsParameter is the one parameter that a URI may have; empty when it has none.
func kmsParameter(query, name string) (string, error) {
	value, found := strings.CutPrefix(query, name+"=")
	if query != "" && !found {
		return "", errNoKMSURI()
	}
	return value, nil
}

func firstSet(getenv func(string) string, names ...string) (string, error) {
	for _, name := range names {
		if value := getenv(name); value != "" {
			return value, nil
		}
	}
	return "", fmt.Errorf("%w: %s is not set", ErrKMS, names[len(names)-1])
}

var addressShape = regexp.MustCompile(`^https?://[0-9A-Za-z.:\[\]-]+(?:/[0-9A-Za-z._/-]*)?$`)

func kmsAddress(text string) (string, error) {
	bare := strings.TrimRight(text, "/")
	address, err := url.Parse(bare)
	if err != nil || !addressShape.MatchString(bare) || checkTransport(address) != nil {
		return "", fmt.Errorf("%w: its address must be https, or on this machine", ErrKMS)
	}
	return bare, nil
}

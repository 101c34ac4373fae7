package main

import (
	// go-digest knows an algorithm only if its implementation is linked in, as in every kubelet.
	_ "crypto/sha256"
	_ "crypto/sha512"
	"encoding/json"
	"errors"
	"strings"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
)

// parsed is the answer for a reference that is accepted. An absent tag or digest is "".
type parsed struct {
	Normalized string `json:"normalized"`
	Registry   string `json:"registry"`
	Repository string `json:"repository"`
	Tag        string `json:"tag"`
	Digest     string `json:"digest"`
}

// refused is the answer for one that is not.
type refused struct {
	Error string `json:"error"`
	Kind  string `json:"kind"`
}

// answerReference parses one image reference, given as a JSON string.
func answerReference(line []byte) (any, error) {
	var text string
	if err := json.Unmarshal(line, &text); err != nil {
		return nil, err
	}
	named, err := reference.ParseNormalizedNamed(text)
	if err != nil {
		return refused{Error: err.Error(), Kind: refusalKind(err)}, nil
	}
	answer := parsed{
		Normalized: named.String(),
		Registry:   reference.Domain(named),
		Repository: reference.Path(named),
	}
	if tagged, ok := named.(reference.Tagged); ok {
		answer.Tag = tagged.Tag()
	}
	if digested, ok := named.(reference.Digested); ok {
		answer.Digest = digested.Digest().String()
	}
	return answer, nil
}

// refusalKind names the reason. Two of them have no error value upstream, only a text.
func refusalKind(err error) string {
	for _, known := range []struct {
		err  error
		kind string
	}{
		{reference.ErrReferenceInvalidFormat, "format"},
		{reference.ErrNameContainsUppercase, "name-contains-uppercase"},
		{reference.ErrNameTooLong, "name-too-long"},
		{reference.ErrNameEmpty, "name-empty"},
		{digest.ErrDigestUnsupported, "digest-unsupported"},
		{digest.ErrDigestInvalidLength, "digest-length"},
		{digest.ErrDigestInvalidFormat, "digest-format"},
	} {
		if errors.Is(err, known.err) {
			return known.kind
		}
	}
	text := err.Error()
	switch {
	case strings.HasSuffix(text, "cannot specify 64-byte hexadecimal strings"):
		return "identifier"
	case strings.HasSuffix(text, "must be lowercase"):
		return "repository-uppercase"
	}
	return "unknown"
}

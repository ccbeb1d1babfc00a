package pixembed_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	"pixembed"
)

// addresses is the table that the clients in Python and C++ are held to, too.
func addresses(t *testing.T) (taken, refused []string) {
	t.Helper()
	data, err := os.ReadFile("../../tests/data/addresses.json")
	if err != nil {
		t.Fatal(err)
	}
	var table struct{ Taken, Refused []string }
	if err := json.Unmarshal(data, &table); err != nil {
		t.Fatal(err)
	}
	if len(table.Taken) == 0 || len(table.Refused) == 0 {
		t.Fatal("the table is empty")
	}
	return table.Taken, table.Refused
}

func TestATargetThatGRPCReadsAsItIsWrittenIsTaken(t *testing.T) {
	taken, _ := addresses(t)
	for _, target := range append(taken, "a:1,b:1", "a:1, [::1]:2", "[::1]:1,[::1]:2", "passthrough:///anything") {
		client, err := pixembed.New(target, pixembed.WithPlaintext())
		if err != nil {
			t.Errorf("%q: %v", target, err)
			continue
		}
		_ = client.Close()
	}
}

func TestATargetThatWouldReachAnotherPortOrNoneIsRefused(t *testing.T) {
	_, refused := addresses(t)
	for _, target := range append(refused, "a:1,", ",a:1", "a:1,b", "a:1,b:99999", "a:1,b c:1", "a:1,[b]:1", "nothing:///a:1") {
		client, err := pixembed.New(target, pixembed.WithPlaintext())
		if err == nil {
			_ = client.Close()
			t.Errorf("%q is taken", target)
			continue
		}
		if text := err.Error(); !strings.Contains(text, `"host:port" with a port from 1 to 65535`) ||
			!(strings.Contains(text, fmt.Sprintf("%q", target)) || strings.Contains(target, ",")) {
			t.Errorf("%q: %v", target, err)
		}
	}
}

func TestANameWithoutAnAddressIsTold(t *testing.T) {
	client := connect(t, "no-such-name.invalid:50051", pixembed.WithMaxAttempts(1))
	_, err := client.Models(t.Context())
	if err == nil || !strings.Contains(err.Error(), "no-such-name.invalid") && !strings.Contains(err.Error(), "has no address") {
		t.Errorf("%v does not say what is wrong with the name", err)
	}
}

func TestATokenThatNoHeaderHoldsFailsItsCall(t *testing.T) {
	client := connect(t, address, pixembed.WithTokenOverPlaintext(),
		pixembed.WithTokenSource(func(context.Context) (string, error) { return "secret\n", nil }))
	_, err := client.Models(t.Context())
	if err == nil || !strings.Contains(err.Error(), "byte 6 of the token") {
		t.Errorf("%v does not say what is wrong with the token", err)
	}
}

func TestWhatIsNotUTF8IsRefusedBeforeItTravels(t *testing.T) {
	client := connect(t, "127.0.0.1:1")
	for _, options := range []pixembed.EmbedOptions{{Model: "\xff"}, {ExpectedFingerprint: "\xff"}} {
		_, err := client.Embed(t.Context(), nil, &options)
		wantService(t, err, codes.InvalidArgument, pixembed.ReasonInvalidOption)
	}
}

func TestNoIteratorIsAnError(t *testing.T) {
	for _, err := range connect(t, "127.0.0.1:1").Stream(t.Context(), nil, nil) {
		wantService(t, err, codes.InvalidArgument, pixembed.ReasonInvalidOption)
	}
}

func TestAClosedClientIsClosedAgainInSilence(t *testing.T) {
	client := connect(t, "127.0.0.1:1")
	for range 2 {
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	}
}

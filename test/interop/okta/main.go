// A transmitter that pushes SETs with the client that Okta publishes for providers of security events. The package
// words the request of RFC 8935 and reads its answer; which SETs it pushes is told on standard input.
//
// Arguments: where to push, and the token to push with. Each line of standard input is a SET; for each, one line of JSON
// on standard output says what came of it.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"

	"github.com/okta/okta-sdk-golang/v5/okta"
)

type outcome struct {
	Status int    `json:"status"`
	Err    string `json:"err,omitempty"`
	Failed string `json:"failed,omitempty"`
}

func main() {
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(endpoint, token string) error {
	target, err := url.Parse(endpoint)
	if err != nil {
		return err
	}
	config, err := okta.NewConfiguration(okta.WithOrgUrl(endpoint), okta.WithToken(token), okta.WithCache(false))
	if err != nil {
		return err
	}
	// The package drops the port of the address, and puts the path of Okta's own endpoint behind it: as a fragment, that
	// part is not sent.
	config.Host = target.Host
	config.Servers = okta.ServerConfigurations{{URL: endpoint + "#"}}
	events := okta.NewAPIClient(config).SSFSecurityEventTokenAPI

	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		response, err := events.PublishSecurityEventTokens(context.Background()).SecurityEventToken(lines.Text()).Execute()
		if err := json.NewEncoder(os.Stdout).Encode(toOutcome(response, err)); err != nil {
			return err
		}
	}
	return lines.Err()
}

func toOutcome(response *okta.APIResponse, err error) outcome {
	var told outcome
	if response != nil && response.Response != nil {
		told.Status = response.StatusCode
	}
	if err == nil {
		return told
	}
	told.Failed = err.Error()
	if refusal, ok := err.(*okta.GenericOpenAPIError); ok {
		if model, ok := refusal.Model().(okta.SecurityEventTokenError); ok {
			told.Err = model.GetErr()
		}
	}
	return told
}

// Command kubelet answers, line by line, what the kubelet's own packages make of pull secrets, so that the Rust code can be
// held against them. Each subcommand reads one JSON value per line and writes one JSON object per line, in the same order.
// It is a module of its own, as its packages have many more dependencies than those of the oracle beside it. It touches
// neither files nor the network.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/go-logr/logr"
	"k8s.io/klog/v2"
)

// subcommands maps a name to the function that answers one line.
var subcommands = map[string]func(line []byte) (any, error){
	"secret": answerSecret,
	"lookup": answerLookup,
}

func main() {
	// The keyring logs each key that it passes over.
	klog.SetLogger(logr.Discard())
	if err := run(os.Args[1:], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "kubelet:", err)
		os.Exit(2)
	}
}

func run(args []string, in io.Reader, out io.Writer) error {
	if len(args) != 1 {
		return errors.New("usage: kubelet SUBCOMMAND <questions >answers")
	}
	answer, ok := subcommands[args[0]]
	if !ok {
		return fmt.Errorf("no subcommand %q", args[0])
	}
	// A Reader, not a Scanner: a question may be longer than a Scanner's line.
	reader, writer := bufio.NewReader(in), bufio.NewWriter(out)
	encoder := json.NewEncoder(writer)
	for number := 1; ; number++ {
		line, err := reader.ReadBytes('\n')
		if errors.Is(err, io.EOF) && len(line) == 0 {
			return writer.Flush()
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		value, err := answer(line)
		if err != nil {
			return fmt.Errorf("line %d: %w", number, err)
		}
		if err := encoder.Encode(value); err != nil {
			return err
		}
	}
}

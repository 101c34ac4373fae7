// Command controlplane runs a real Kubernetes control plane on free loopback ports for as long as its standard input is
// open: etcd, kube-apiserver and kube-controller-manager, without nodes. It prints one line of JSON once the plane is ready,
// then obeys lines on standard input, each answered by one line of JSON: `stop-apiserver`, `kill-apiserver`,
// `start-apiserver` (on the same port), `pause-etcd`, `resume-etcd`. At the end of its input it kills what it started and
// removes its directory, so that nothing outlives the tests however they end. It never touches anything else.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"syscall"
)

func main() {
	// A child is killed when the thread that started it ends, so all of them are started on this one.
	runtime.LockOSThread()
	// Whoever reads our output may be gone before us, and there is still a directory to remove.
	signal.Ignore(syscall.SIGPIPE)
	binaries := flag.String("binaries", "", "directory of etcd, kube-apiserver, kube-controller-manager and kubectl")
	flag.Parse()
	if err := run(*binaries, os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "controlplane:", err)
		os.Exit(1)
	}
}

func run(binaries string, in io.Reader, out io.Writer) error {
	plane, err := newPlane(binaries)
	if err != nil {
		return err
	}
	defer plane.close()

	// Read beside, so that a signal is obeyed while nothing comes.
	lines := make(chan string)
	go func() {
		defer close(lines)
		for scanner := bufio.NewScanner(in); scanner.Scan(); {
			lines <- scanner.Text()
		}
	}()
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)

	if err := plane.start(); err != nil {
		return err
	}
	answers := json.NewEncoder(out)
	if err := answers.Encode(plane.describe()); err != nil {
		return err
	}
	for {
		select {
		case <-signals:
			return nil
		case line, open := <-lines:
			if !open {
				return nil
			}
			answer := map[string]string{"done": line}
			if err := plane.obey(line); err != nil {
				answer = map[string]string{"error": err.Error()}
			}
			if err := answers.Encode(answer); err != nil {
				return err
			}
		}
	}
}

package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// process is one part of the plane while it runs, with a log of its own.
type process struct {
	name    string
	command *exec.Cmd
	logFile string
	// Closed when it has ended.
	ended chan struct{}
}

// startProcess starts a program whose log is appended to NAME.log in the directory.
func startProcess(directory, program string, args ...string) (*process, error) {
	name := filepath.Base(program)
	logFile := filepath.Join(directory, name+".log")
	log, err := os.OpenFile(logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	command := exec.Command(program, args...)
	command.Dir = directory
	command.Stdout, command.Stderr = log, log
	command.SysProcAttr = dieWithParent()
	if err := command.Start(); err != nil {
		return nil, fmt.Errorf("%s does not start: %w", name, err)
	}
	p := &process{name, command, logFile, make(chan struct{})}
	go func() {
		_ = command.Wait() // How it ended is in its log.
		close(p.ended)
	}()
	return p, nil
}

// until waits for a condition; an error when the process ends, or the time is over, before it holds.
func (p *process) until(what string, patience time.Duration, condition func() error) error {
	deadline := time.After(patience)
	for {
		err := condition()
		if err == nil {
			return nil
		}
		select {
		case <-p.ended:
			return fmt.Errorf("%s ended before %s; its last lines:\n%s", p.name, what, p.lastLines())
		case <-deadline:
			return fmt.Errorf("%s: not %s after %s: %w; its last lines:\n%s", p.name, what, patience, err, p.lastLines())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// stop asks it to end, and kills it when it has not after this time.
func (p *process) stop(patience time.Duration) {
	_ = p.command.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(patience):
		p.kill()
	}
}

// kill ends it at once, also when it is paused.
func (p *process) kill() {
	_ = p.command.Process.Kill()
	<-p.ended
}

func (p *process) lastLines() string {
	text, err := os.ReadFile(p.logFile)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(string(bytes.TrimSpace(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-20):], "\n")
}

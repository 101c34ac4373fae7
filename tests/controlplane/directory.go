package main

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

const prefix = "pullpass-controlplane-"

// lockDirectory marks a directory as in use until the file is closed, also by the end of the process.
func lockDirectory(directory string) (*os.File, error) {
	lock, err := os.Create(filepath.Join(directory, "lock"))
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return lock, nil
}

// removeLeftovers removes the directories of planes that were killed before they could do it themselves.
func removeLeftovers() {
	directories, _ := filepath.Glob(filepath.Join(os.TempDir(), prefix+"*"))
	for _, directory := range directories {
		// One without a lock file, or with one from just now, is being made.
		lock, err := os.Open(filepath.Join(directory, "lock"))
		if err != nil {
			continue
		}
		if info, err := lock.Stat(); err != nil || time.Since(info.ModTime()) < time.Minute {
			lock.Close()
			continue
		}
		if syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
			_ = os.RemoveAll(directory)
		}
		lock.Close()
	}
}

//go:build !linux

package main

import "syscall"

// dieWithParent is Linux's alone; elsewhere the end of the input has to do.
func dieWithParent() *syscall.SysProcAttr { return nil }

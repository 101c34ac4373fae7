package main

import "syscall"

// dieWithParent makes the kernel kill a child when its parent is gone, however that came.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}

package filelock

import "golang.org/x/sys/windows"

// Locks of Windows keep others from the bytes themselves, so one is taken where no file has any.
var farAway = windows.Overlapped{OffsetHigh: 1 << 30}

func try(fd uintptr) (bool, error) {
	at := farAway
	const how = windows.LOCKFILE_EXCLUSIVE_LOCK | windows.LOCKFILE_FAIL_IMMEDIATELY
	err := windows.LockFileEx(windows.Handle(fd), how, 0, 1, 0, &at)
	if err == windows.ERROR_LOCK_VIOLATION || err == windows.ERROR_IO_PENDING {
		return false, nil
	}
	return err == nil, err
}

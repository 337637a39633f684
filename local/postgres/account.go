package postgres

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// credential is the user servers run as; the zero value is the caller.
type credential struct {
	uid, gid int
}

// account returns the unprivileged user to run as when the caller is root.
func account() (credential, error) {
	if os.Getuid() != 0 {
		return credential{}, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, uidErr := strconv.Atoi(u.Uid)
		gid, gidErr := strconv.Atoi(u.Gid)
		if uidErr == nil && gidErr == nil && uid != 0 {
			return credential{uid, gid}, nil
		}
	}
	return credential{}, errors.New("PostgreSQL refuses to run as root, and this machine has neither a user postgres nor nobody: run as another user")
}

// own gives a path to the account.
func (c credential) own(path string) error {
	if c == (credential{}) {
		return nil
	}
	return os.Lchown(path, c.uid, c.gid)
}

func (c credential) sysProcAttr() *syscall.SysProcAttr {
	if c == (credential{}) {
		return nil
	}
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(c.uid), Gid: uint32(c.gid)}}
}

// reachable makes dir, or when the account cannot enter one of its parents
// (a clone below /root, say) a folder below os.TempDir that stands for it, and
// returns which.
func (c credential) reachable(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if !c.enters(dir) {
		dir = filepath.Join(os.TempDir(), fmt.Sprintf("loadbearing-%x", sha256.Sum256([]byte(dir)))[:28])
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	// Anyone may write to the temporary folder: what is there must be ours.
	info, err := os.Lstat(dir)
	if err != nil {
		return "", err
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && (!info.IsDir() || int(stat.Uid) != os.Getuid()) {
		return "", fmt.Errorf("%s belongs to user %d, not to user %d who runs this: remove it", dir, stat.Uid, os.Getuid())
	}
	return dir, nil
}

// enters tells whether the account may traverse dir and every parent of it.
// What does not exist yet is made with mode 0755.
func (c credential) enters(dir string) bool {
	if c == (credential{}) {
		return true
	}
	if resolved, err := filepath.EvalSymlinks(dir); err == nil {
		dir = resolved
	}
	for ; ; dir = filepath.Dir(dir) {
		if info, err := os.Stat(dir); err == nil {
			mode := info.Mode().Perm()
			bit := fs.FileMode(0o001)
			if stat, ok := info.Sys().(*syscall.Stat_t); ok {
				switch {
				case int(stat.Uid) == c.uid:
					bit = 0o100
				case int(stat.Gid) == c.gid:
					bit = 0o010
				}
			}
			if mode&bit == 0 {
				return false
			}
		}
		if dir == filepath.Dir(dir) {
			return true
		}
	}
}

// copyTree copies a folder for the account. Files that vanish meanwhile, as
// those of a running server do, are left out; skip names paths, relative to
// source, whose content is left out.
func (c credential) copyTree(ctx context.Context, source, target string, skip func(path string, d fs.DirEntry) bool) error {
	return filepath.WalkDir(source, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		rel, err := filepath.Rel(source, path)
		if err != nil {
			return err
		}
		if skip != nil && skip(rel, d) {
			return nil
		}
		to := filepath.Join(target, rel)
		if d.IsDir() {
			if err := os.Mkdir(to, 0o700); err != nil {
				return err
			}
			return c.own(to)
		}
		if !d.Type().IsRegular() {
			return nil
		}
		if err := copyFile(path, to); err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			return err
		}
		return c.own(to)
	})
}

func copyFile(from, to string) error {
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer source.Close()
	target, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if _, err := io.Copy(target, source); err != nil {
		target.Close()
		return err
	}
	return target.Close()
}

// write puts a file that only the account reads in place, whole or not at all.
func (c credential) write(path string, data []byte) error {
	next := path + ".next"
	if err := os.WriteFile(next, data, 0o600); err != nil {
		return err
	}
	if err := c.own(next); err != nil {
		return err
	}
	return os.Rename(next, path)
}

// lock holds a file against other programs that fill the same cache. The
// system releases it when its holder ends, however that was.
func lock(ctx context.Context, path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, fmt.Errorf("wait for another program that holds %s: %w", path, ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

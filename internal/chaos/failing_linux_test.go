package chaos

import (
	"context"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// failing is a file in a file system of its own whose reads fail from a byte on.
type failing struct {
	fs.Inode
	path   string
	data   []byte
	from   atomic.Int64
	server *fuse.Server
}

// root is the directory with the file.
type root struct {
	fs.Inode
	file *failing
}

// OnAdd implements fs.NodeOnAdder.
func (r *root) OnAdd(ctx context.Context) {
	r.AddChild("base.gguf", r.NewPersistentInode(ctx, r.file, fs.StableAttr{Mode: syscall.S_IFREG}), true)
}

// Getattr implements fs.NodeGetattrer.
func (f *failing) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	out.Size, out.Mode = uint64(len(f.data)), 0o444
	return 0
}

// Open implements fs.NodeOpener.
func (f *failing) Open(context.Context, uint32) (fs.FileHandle, uint32, syscall.Errno) {
	return nil, 0, 0
}

// Read implements fs.NodeReader.
func (f *failing) Read(_ context.Context, _ fs.FileHandle, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	end := min(off+int64(len(dest)), int64(len(f.data)))
	if end > f.from.Load() {
		return nil, syscall.EIO
	}
	return fuse.ReadResultData(f.data[off:end]), 0
}

// mountFailing mounts a file of some bytes below dir, all of which can be read at first.
func mountFailing(dir string, data []byte) (*failing, error) {
	at := filepath.Join(dir, "failing")
	if err := os.Mkdir(at, 0o755); err != nil {
		return nil, err
	}
	f := &failing{path: filepath.Join(at, "base.gguf"), data: data}
	f.from.Store(int64(len(data)))
	opt := &fs.Options{}
	opt.DirectMount = true
	server, err := fs.Mount(at, &root{file: f}, opt)
	f.server = server
	return f, err
}

func (f *failing) unmount() { _ = f.server.Unmount() }

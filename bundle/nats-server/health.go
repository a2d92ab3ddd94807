package main

import (
	"net/http"
	"os"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

const (
	lookEvery = 2 * time.Second
	// A server that has just started fails its health check while it loads its streams.
	missesMax    = 3
	freeBytesMin = 32 << 20
)

// watch ends the server when it stays unwell although its disk has room: a stream whose write failed
// refuses everything until it is loaded again. The service manager starts it anew, and nothing that was
// acknowledged is lost, because it was flushed. Where our own supervisor runs the server, it does this
// (appliance/engines/queue_watch.py).
func watch(queue *server.Server, store string) {
	misses := 0
	for range time.Tick(lookEvery) {
		if isWell(queue) || freeBytes(store) < freeBytesMin {
			misses = 0
			continue
		}
		misses++
		if misses == missesMax {
			queue.Errorf("The health check keeps failing although there is room; starting anew")
			queue.Shutdown()
			os.Exit(1)
		}
	}
}

func isWell(queue *server.Server) bool {
	if !queue.Running() {
		return true // it is ending, as it was told
	}
	question, err := http.NewRequest(http.MethodGet, server.HealthzPath, nil)
	give(err)
	answer := &answer{status: http.StatusOK}
	queue.HandleHealthz(answer, question)
	return answer.status == http.StatusOK
}

func freeBytes(folder string) uint64 {
	var found syscall.Statfs_t
	if err := syscall.Statfs(folder, &found); err != nil {
		return 0
	}
	return found.Bavail * uint64(found.Bsize)
}

// answer keeps the status of an answer that nobody reads.
type answer struct {
	header http.Header
	status int
}

func (one *answer) Header() http.Header {
	if one.header == nil {
		one.header = http.Header{}
	}
	return one.header
}

func (one *answer) WriteHeader(status int) { one.status = status }

func (one *answer) Write(piece []byte) (int, error) { return len(piece), nil }

package main

import (
	"errors"
	"net"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

const (
	// As much as the server reads at once.
	pieceBytes = 64 << 10
	// How long to wait when no descriptor is left.
	pause = 100 * time.Millisecond
)

// serve hands every connection of the door to the server, until the door is closed.
func serve(queue *server.Server, door net.Listener, patience time.Duration) {
	for {
		outside, err := door.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			queue.Errorf("The door cannot take a connection: %v", err)
			time.Sleep(pause)
			continue
		}
		inside, err := queue.InProcessConn()
		if err != nil {
			outside.Close()
			continue
		}
		join(outside, inside, patience)
	}
}

// join passes bytes both ways until either side ends. A client that takes nothing for longer than the
// server's own patience is gone, as it would be without a door.
func join(outside, inside net.Conn, patience time.Duration) {
	var once sync.Once
	end := func() { once.Do(func() { outside.Close(); inside.Close() }) }
	go func() { defer end(); pass(inside, outside, 0) }()
	go func() { defer end(); pass(outside, inside, patience) }()
}

// pass copies from one side to the other; `patience` bounds each write, nought does not.
func pass(target, source net.Conn, patience time.Duration) {
	piece := make([]byte, pieceBytes)
	for {
		count, err := source.Read(piece)
		if count > 0 {
			if patience > 0 {
				target.SetWriteDeadline(time.Now().Add(patience))
			}
			if _, failed := target.Write(piece[:count]); failed != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

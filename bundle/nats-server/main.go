// The NATS server behind a listening socket that the service manager holds.
//
// The server itself is the one its authors publish, with all its flags and files. What is added: when
// systemd hands over a socket (LISTEN_FDS), connections are taken from it and the server opens none of
// its own, so its unit needs no right to make Internet sockets and clients wait while it restarts
// (docs/decisions/0029-the-queue-inherits-its-socket.md). Without such a socket it is the plain server.
package main

import (
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

const (
	name            = "nats-server"
	firstDescriptor = 3
	startSecondsMax = 10 * 60 * time.Second
)

func main() {
	flags := flag.NewFlagSet(name, flag.ExitOnError)
	flags.Usage = func() {
		fmt.Println("usage: nats-server --config FILE; all flags: https://docs.nats.io")
		os.Exit(0)
	}
	options, err := server.ConfigureOptions(
		flags, os.Args[1:], server.PrintServerAndExit, flags.Usage, server.PrintTLSHelpAndDie)
	give(err)
	door, err := inherited()
	give(err)
	if door != nil {
		options.DontListen = true
		// Nobody could reach it: this process has no network.
		options.HTTPPort, options.HTTPSPort = 0, 0
	}
	queue, err := server.NewServer(options)
	give(err)
	queue.ConfigureLogger()
	give(server.Run(queue))
	if door != nil {
		if !queue.ReadyForConnections(startSecondsMax) {
			give(fmt.Errorf("the server did not start in %s", startSecondsMax))
		}
		closeBefore(door)
		go serve(queue, door, options.WriteDeadline)
		if options.JetStream {
			go watch(queue, options.StoreDir)
		}
	}
	tell("READY=1")
	queue.WaitForShutdown()
}

// inherited is the socket that systemd opened for this very process, or nil.
func inherited() (*net.TCPListener, error) {
	if os.Getenv("LISTEN_PID") != strconv.Itoa(os.Getpid()) || os.Getenv("LISTEN_FDS") != "1" {
		return nil, nil
	}
	file := os.NewFile(firstDescriptor, "door")
	defer file.Close()
	found, err := net.FileListener(file)
	if err != nil {
		return nil, err
	}
	door, right := found.(*net.TCPListener)
	if !right {
		return nil, fmt.Errorf("the inherited socket is %s, not TCP", found.Addr().Network())
	}
	return door, nil
}

// closeBefore lets new connections wait for the next server as soon as this one is told to end.
func closeBefore(door *net.TCPListener) {
	told := make(chan os.Signal, 1)
	signal.Notify(told, syscall.SIGTERM, syscall.SIGINT)
	go func() {
		<-told
		door.Close()
	}()
}

// tell systemd one thing; without a manager nothing happens.
func tell(state string) {
	address := os.Getenv("NOTIFY_SOCKET")
	if address == "" {
		return
	}
	manager, err := net.Dial("unixgram", address)
	give(err)
	defer manager.Close()
	_, err = manager.Write([]byte(state))
	give(err)
}

// give up when there is an error, in the words of the server.
func give(err error) {
	if err != nil {
		server.PrintAndDie(fmt.Sprintf("%s: %s", name, err))
	}
}

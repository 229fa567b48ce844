// How does this machine get SpiceDB's server? `go install` of its own command is refused (its go.mod has a `replace`), so its command
// tree is run from a module of ours that requires the exact version, and nothing else.
package main

import (
	"fmt"
	"os"

	"github.com/authzed/spicedb/pkg/cmd"
	"github.com/authzed/spicedb/pkg/cmd/server"
	"google.golang.org/grpc/balancer"
)

func main() {
	// The dispatcher names this balancer, and nobody but the program registers it.
	balancer.Register(server.ConsistentHashringBuilder)
	root, err := cmd.BuildRootCommand()
	if err == nil {
		err = root.Execute()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

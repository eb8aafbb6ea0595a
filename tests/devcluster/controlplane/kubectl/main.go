// Command kubectl is a program of its own: each call of it would else set up
// all that the servers are made of, which is more than half of what a call
// costs, and tests make thousands of them.
package main

import (
	"os"

	"k8s.io/component-base/cli"
	"k8s.io/kubectl/pkg/cmd"

	// Registers the JSON log format, as kubectl's own main package does.
	_ "k8s.io/component-base/logs/json/register"
)

func main() {
	os.Exit(cli.Run(cmd.NewDefaultKubectlCommand()))
}

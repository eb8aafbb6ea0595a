// Command controlplane is three programs in one binary: etcd, kube-apiserver
// and kube-controller-manager. The name it is called by (a symbolic link)
// decides which one it is. One binary is linked once and shares its code.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"

	// Registers the JSON log format, as the programs' own main packages do.
	_ "k8s.io/component-base/logs/json/register"
)

func main() {
	switch name := filepath.Base(os.Args[0]); name {
	case "etcd":
		etcdmain.Main(os.Args)
	case "kube-apiserver":
		os.Exit(cli.Run(apiserver.NewAPIServerCommand()))
	case "kube-controller-manager":
		os.Exit(cli.Run(controllermanager.NewControllerManagerCommand()))
	default:
		fmt.Fprintf(os.Stderr, "%s: call this through a link named etcd, kube-apiserver or kube-controller-manager\n", name)
		os.Exit(2)
	}
}

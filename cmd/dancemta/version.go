package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"dancemta/daneclient/clientid"
)

// version is set by the linker in releases.
var version = "development"

// clientNameSources says where this build takes a client's name from.
func clientNameSources() string {
	if why := clientid.Mixed(); why != "" {
		return why + `: "make build" patches crypto/tls anew`
	}
	if clientid.Supported {
		return "extension (dane_clientid), certificate"
	}
	return "certificate (this build has no dane_clientid extension)"
}

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version and what this build can do",
		Args:  exactArgs(0, "no words"),
		RunE: func(c *cobra.Command, _ []string) error {
			_, err := fmt.Fprintf(c.OutOrStdout(), "dancemta %s%s\ngo: %s %s/%s\nclient names: %s\n",
				version, revision(), runtime.Version(), runtime.GOOS, runtime.GOARCH, clientNameSources())
			return err
		},
	}
}

// revision returns the commit that the build was made of, if it is known.
func revision() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return " (" + s.Value[:12] + ")"
		}
	}
	return ""
}

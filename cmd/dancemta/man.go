package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

func newMan() *cobra.Command {
	return &cobra.Command{
		Use:   "man FOLDER",
		Short: "Write a manual page of each command into a folder",
		Args:  exactArgs(1, "one folder"),
		RunE: func(c *cobra.Command, args []string) error {
			if info, err := os.Stat(args[0]); err != nil || !info.IsDir() {
				return unavailable(fmt.Errorf("%s: no such folder", args[0]))
			}
			root := c.Root()
			root.DisableAutoGenTag = true // the same pages for the same commands
			return doc.GenManTree(root, &doc.GenManHeader{Title: "DANCEMTA", Section: "8", Source: "dancemta"}, args[0])
		},
	}
}

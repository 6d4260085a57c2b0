package main

import (
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
	"github.com/spf13/pflag"
)

func newMan() *cobra.Command {
	return &cobra.Command{
		Use:   "man FOLDER",
		Short: "Write a manual page of each command into a folder",
		Long: `Write a manual page of each command into a folder, which is made if need be. They are of
section 8: with the folder share/man/man8 beside bin "man dancemta-queue-list" finds
them, and "man -l FOLDER/dancemta-queue-list.8" shows one that lies anywhere.`,
		Args: exactArgs(1, "one folder"),
		RunE: func(c *cobra.Command, args []string) error {
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return unavailable(err)
			}
			root := c.Root()
			root.DisableAutoGenTag = true // the same pages for the same commands
			asMarkdown(root)
			return doc.GenManTree(root, &doc.GenManHeader{Title: "DANCEMTA", Section: "8", Source: "dancemta"}, args[0])
		},
	}
}

// asMarkdown rewrites the texts of a command and of those below it, since what makes
// pages of them takes them for Markdown: "*.example.org" would lose its star, and a
// table its lines.
func asMarkdown(c *cobra.Command) {
	c.Short, c.Long = escapeMarkdown(c.Short), markdownText(c.Long)
	c.Flags().VisitAll(func(f *pflag.Flag) { f.Usage = escapeMarkdown(f.Usage) })
	for _, sub := range c.Commands() {
		asMarkdown(sub)
	}
}

// markdownText keeps paragraphs, and fences the lines that are indented.
func markdownText(text string) string {
	var paragraphs []string
	for _, p := range strings.Split(text, "\n\n") {
		if strings.HasPrefix(p, "  ") {
			p = "```\n" + p + "\n```"
		} else {
			p = escapeMarkdown(p)
		}
		paragraphs = append(paragraphs, p)
	}
	return strings.Join(paragraphs, "\n\n")
}

func escapeMarkdown(text string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `_`, `\_`, `<`, `\<`, `[`, `\[`).Replace(text)
}

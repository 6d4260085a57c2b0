// Command dancemta is a mail relay to which servers, devices and users log in
// with a key pair and the DNS.
//
// This folder is the parts list: serve.go makes the parts from the configuration
// and hands them to each other, reload.go exchanges what may change while they
// run, each other file is a command. No rule of any protocol stands here.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(execute(ctx, arguments(os.Args), os.Stdout, os.Stderr))
}

// execute runs one command and returns the exit code (exit.go).
func execute(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	addCobras(root)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	printError(stderr, err)
	return exitCode(err)
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "dancemta",
		Short: "A mail relay to which servers, devices and users log in with a key pair and the DNS",
		Long: `dancemta takes mail over TLS, knows the sender by its certificate and the
DNSSEC-validated TLSA records of its domain (IETF DANCE), keeps it on disk and
delivers it onward. "dancemta demo" shows all of it on this machine alone.`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          noArgs,
		RunE:          needsCommand,
	}
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usage(err, fmt.Sprintf("%q lists the flags", c.CommandPath()+" --help"))
	})
	addGroup(root, "Run a server:", newServe(), newCheck(), newStatus(), newQueue(), newLog())
	addGroup(root, "Ask why:", newExplain(), newProbe(), newVerify())
	addGroup(root, "Make keys, certificates and DNS records:", newKey(), newTLSA(), newUserCert(), newDKIM())
	addGroup(root, "Send mail:", newSend())
	addGroup(root, "See it, and read on:", newDemo(), newVersion(), newMan())
	root.SetHelpCommandGroupID("See it, and read on:")
	root.SetCompletionCommandGroupID("See it, and read on:")
	return root
}

// addCobras adds cobra's own commands, which write to where root writes now. To whoever
// mistypes a word they would show another page, and end with 0.
func addCobras(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		switch c.Name() {
		case "help":
			c.RunE = help
		case "completion":
			c.Args, c.RunE = noArgs, needsCommand
		}
	}
}

// addGroup adds commands that the help lists under a title.
func addGroup(to *cobra.Command, title string, commands ...*cobra.Command) {
	to.AddGroup(&cobra.Group{ID: title, Title: title})
	for _, c := range commands {
		c.GroupID = title
	}
	to.AddCommand(commands...)
}

func help(c *cobra.Command, args []string) error {
	found, rest, err := c.Root().Find(args)
	if err != nil {
		return usage(err)
	}
	if err := noArgs(found, rest); err != nil {
		return err
	}
	found.InitDefaultHelpFlag()
	return found.Help()
}

// noArgs refuses a word that is no command, also where cobra would only print
// its help and exit with 0.
func noArgs(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	hint := fmt.Sprintf("%q lists the commands", c.CommandPath()+" --help")
	for _, c.SuggestionsMinimumDistance = range []int{1, 2} { // letters
		if near := c.SuggestionsFor(args[0]); len(near) > 0 {
			hint = fmt.Sprintf("did you mean %q?", c.CommandPath()+" "+near[0])
			break
		}
	}
	return usage(fmt.Errorf("unknown word %q after %q", args[0], c.CommandPath()), hint)
}

func needsCommand(c *cobra.Command, _ []string) error {
	return usage(fmt.Errorf("%q needs a command", c.CommandPath()), fmt.Sprintf("%q lists them", c.CommandPath()+" --help"))
}

// exactArgs is cobra's rule with our exit code.
func exactArgs(n int, what string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) == n {
			return nil
		}
		return usage(fmt.Errorf("%q takes %s", c.CommandPath(), what), fmt.Sprintf("%q shows how", c.CommandPath()+" --help"))
	}
}

// defaultConfig is where the configuration is looked for.
const defaultConfig = "/etc/dancemta/dancemta.toml"

func addConfigFlag(c *cobra.Command, path *string) {
	c.Flags().StringVarP(path, "config", "c", defaultConfig, "the configuration `file`")
	if err := c.MarkFlagFilename("config", "toml"); err != nil {
		panic(err) // the flag was defined in the line above
	}
}

package newfile

import (
	"fmt"
	"os"
)

// Replace writes one file, in the place of another if there is one: whoever reads
// it, also after a power cut, finds the old content or the new, whole. It is for
// what a program keeps for itself; a person's files are for Write.
func Replace(f File) error {
	temp, err := writeTemp(f)
	if err != nil {
		return fmt.Errorf("%s: %w", f.Path, cause(err))
	}
	if err := os.Rename(temp, f.Path); err != nil {
		os.Remove(temp) // of no use now
		return fmt.Errorf("%s: %w", f.Path, cause(err))
	}
	return syncDirs([]File{f})
}

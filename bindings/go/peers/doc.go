// Package peers tests the package beside clients that others have written. It
// is a module of its own, so that the package itself depends on nothing.
package peers

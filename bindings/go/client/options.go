package client

import (
	"errors"
	"fmt"
	"time"
)

// DefaultWindow is the window of an [Options] that names none.
const DefaultWindow = time.Minute

// Longest is the longest duration believed. No quota lasts over a year.
const Longest = 366 * 24 * time.Hour

// ErrOption is what every error about an option out of range wraps.
var ErrOption = errors.New("mavera-rl: option out of range")

// Options are what is known beforehand of the limit of one key.
type Options struct {
	// Limit is requests per window; 0: not limited until an answer tells.
	Limit int
	// Window is 0 for [DefaultWindow], and at most [Longest].
	Window time.Duration
	// MaxInFlight is the most requests not yet released; 0: any number.
	MaxInFlight int
	// Margin lengthens the window, for servers that round their stamps up.
	// At most [Longest].
	Margin time.Duration
}

func (o Options) checked() (Options, error) {
	switch {
	case o.Limit < 0:
		return o, fmt.Errorf("%w: Limit must be >= 0: %d", ErrOption, o.Limit)
	case o.Window < 0 || o.Window > Longest:
		return o, fmt.Errorf("%w: Window must be within 0 and a year: %v", ErrOption, o.Window)
	case o.MaxInFlight < 0:
		return o, fmt.Errorf("%w: MaxInFlight must be >= 0: %d", ErrOption, o.MaxInFlight)
	case o.Margin < 0 || o.Margin > Longest:
		return o, fmt.Errorf("%w: Margin must be within 0 and a year: %v", ErrOption, o.Margin)
	}
	if o.Window == 0 {
		o.Window = DefaultWindow
	}
	return o, nil
}

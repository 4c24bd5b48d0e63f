module github.com/mavera-ai/mavera-rl/bindings/go/peers

go 1.26.0

require (
	github.com/hashicorp/go-retryablehttp v0.7.8
	github.com/mavera-ai/mavera-rl/bindings/go v0.0.0
)

require (
	github.com/hashicorp/go-cleanhttp v0.5.2 // indirect
	golang.org/x/time v0.16.0
)

replace github.com/mavera-ai/mavera-rl/bindings/go => ..

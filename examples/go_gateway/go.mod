module github.com/mavera-ai/mavera-rl/examples/go_gateway

go 1.24

require github.com/mavera-ai/mavera-rl/bindings/go v0.0.0

replace github.com/mavera-ai/mavera-rl/bindings/go => ../../bindings/go

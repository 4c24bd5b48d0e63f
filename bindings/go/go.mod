module github.com/mavera-ai/mavera-rl/bindings/go

go 1.24

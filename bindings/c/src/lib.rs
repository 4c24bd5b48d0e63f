pub use limiter as _;

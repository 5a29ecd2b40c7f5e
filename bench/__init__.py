"""Where every figure of the READMEs comes from; `make bench` runs all, results lie in bench/results."""

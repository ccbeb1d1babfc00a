// A program needs a source. Nobody runs it: see pixembed_test_headers in CMakeLists.txt.

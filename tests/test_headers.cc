// A program needs a source. It is never linked: see pixembed_test_headers in CMakeLists.txt.

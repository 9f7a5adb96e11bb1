"""The programs: they read the clock, write files and talk; the mathematics is in jaxreason."""

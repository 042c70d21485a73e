"""From a loop nest to machine code: target, text, assembler, object cache, vector math, threads.

Building blocks only: which loops exist and in which order is decided elsewhere. Every file here is
one block, and all but `toolchain` and `assemble` know LLVM only as a language to write.
"""

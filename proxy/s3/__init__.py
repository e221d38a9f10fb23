"""The S3 protocol as pure functions: parse, recognise, plan, translate, answer.

Nothing here opens a socket, reads a clock or asks Redis: each function maps values to values, so that one
rule of S3 is one place. A refusal is a value (`errors.S3Error`); `errors.BadNodeAnswer` is raised only when a
storage node answers something that is not S3.
"""

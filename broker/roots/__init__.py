"""Roots: a bucket and prefix on a node, and who may create workspaces there."""

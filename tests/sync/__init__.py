"""
Tests for L{sipxha.sync}.
"""

"""
Tests for L{sipxha.cdr}.
"""

"""
Tests for L{sipxha.sip}.
"""

"""
Tests for sipxha.store.
"""

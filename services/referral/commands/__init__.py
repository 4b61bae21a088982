"""Use cases of referral: one function, one transaction.

Locks are taken in one order everywhere (account rows by id, then one code, then registrations by account id), so that
no two commands wait for each other crosswise.
"""

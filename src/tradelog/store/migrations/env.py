"""Alembic's entry: runs inside the one transaction that `store.upgrade` has opened.

No batch mode here, ever: it copies tables and loses triggers and unnamed CHECKs.
"""

from alembic import context

context.configure(connection=context.config.attributes["connection"], transactional_ddl=True)
context.run_migrations()

"""What the catalog query asks of memberships."""


def granting(role: str) -> str:
    """Return SQL for whether the session may make others members of a role, given as its oid.

    MEMBER WITH ADMIN OPTION follows memberships that are not inherited, too, and from PostgreSQL 16 on GRANT does not
    (select_best_admin in acl.c; "no possible grantors", an internal error). `p.v` is the server's version.
    """
    return (
        f"CASE WHEN p.v >= 160000 THEN EXISTS (SELECT FROM pg_auth_members ma WHERE ma.roleid = {role} "
        f"AND ma.admin_option AND pg_has_role(ma.member, 'USAGE')) "
        f"ELSE pg_has_role({role}, 'MEMBER WITH ADMIN OPTION') END"
    )

#!/bin/sh
# Makes three small git repositories in the folder `repos`. What solver builds for the target release cannot add.
set -eu
export GIT_AUTHOR_DATE='2026-11-23 09:00:00 +0000' GIT_COMMITTER_DATE='2026-11-23 09:00:00 +0000'
mkdir repos
for name in lexer parser solver; do
    git init --quiet "repos/$name"
    cd "repos/$name"
    git config user.name Ada
    git config user.email ada@example.org

    cat > app.in <<'APP'
#!/bin/sh
case TARGET in
    debug) echo "$(($1 + $2))" ;;
    release) echo "$(($1 + $2))" ;;
esac
APP
    [ "$name" != solver ] || sed -i '/release/s/+/-/' app.in

    cat > build.sh <<'BUILD'
echo "building for $1"
sed "s/TARGET/$1/" app.in > app
chmod +x app
BUILD

    cat > test.sh <<'TEST'
for numbers in "1 2 3" "2 2 4" "19 23 42"; do
    set -- $numbers
    sum=$(./app "$1" "$2")
    [ "$sum" = "$3" ] || { echo "test.sh: $1 and $2 gave $sum, not $3"; exit 1; }
done
echo "3 tests passed"
TEST

    git add .
    git commit --quiet --message "Add numbers, in $name"
    cd ../..
done
